//! The library in an application: `cargo run --release -p windlass-migrate --example up -- URL DIR`
//! applies what is pending and says how long it took.

use std::path::Path;
use std::time::Instant;

use windlass_migrate::{Database, Folder, Options, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(dir)) = (args.next(), args.next()) else {
        return Err("say the database's address and the folder".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let began = Instant::now();
    let done = runtime.block_on(async {
        let folder = Folder::read(Path::new(&dir))?;
        let database = Database::parse(&url)?;
        run::up(&database, &folder, &Options::default(), &mut |_| {}).await
    })?;
    println!("{} applied in {:?}", done.done.len(), began.elapsed());
    Ok(())
}
