//! The rules that keep the code easy to find one's way in. They are few, and each is checked here:
//! what is not checked is no rule.

mod crates;
mod documents;
mod sources;

use anyhow::{Result, bail};

/// Something that is not as it must be: where, and what to do.
type Complaint = String;

/// `cargo xtask tidy`
pub(crate) fn run() -> Result<()> {
    let complaints = check()?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    match complaints.len() {
        0 => {
            println!("tidy");
            Ok(())
        }
        1 => bail!("1 thing is not tidy"),
        n => bail!("{n} things are not tidy"),
    }
}

fn check() -> Result<Vec<Complaint>> {
    let root = crate::root();
    let mut complaints = sources::check(&root)?;
    complaints.extend(crates::check()?);
    complaints.extend(documents::check(&root)?);
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_repository_is_tidy() {
        let complaints = super::check().expect("the repository can be read");
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
