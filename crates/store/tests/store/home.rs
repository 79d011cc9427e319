//! Where a lab's data are: in a file of its folder.

use std::path::Path;

use windlass_store::Place;

pub(crate) async fn place(folder: &Path) -> Place {
    folder.into()
}
