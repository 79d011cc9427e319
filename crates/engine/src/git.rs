//! The git program, run so that nothing on the way can hurt: see [`Git`].
/// Signatures follow.
#[derive(Debug, Clone)]
pub struct Git;
