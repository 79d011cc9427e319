//! Named places at which a test may kill the program, as `kill -9` would.
//!
//! `WINDLASS_KILL_AT=after-submit` kills at the first pass of that place, `after-submit:3` at the
//! third. Only in builds with debug assertions; a release build has no trace of it. Every
//! transaction has two places, `before-<function>` and `after-<function>` around its commit; the
//! worker names some more.

/// Ends the program at once, if the environment asks for it at this place.
#[cfg(debug_assertions)]
pub fn hit(place: std::fmt::Arguments<'_>) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSES: AtomicU32 = AtomicU32::new(0);

    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("WINDLASS_KILL_AT").ok()?;
        match text.split_once(':') {
            Some((name, pass)) => Some((name.to_owned(), pass.parse().unwrap_or(1))),
            None => Some((text, 1)),
        }
    });
    let Some((name, pass)) = wanted else { return };
    if *name == place.to_string() && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *pass {
        eprintln!("killed at {name}");
        // No destructor, no flush, no answer: what a power cut or the kernel would do.
        let own = nix::unistd::Pid::this();
        nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL).ok();
        std::thread::sleep(std::time::Duration::from_secs(10));
    }
}

/// Nothing, in release builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_place: std::fmt::Arguments<'_>) {}
