//! Copying the store into a new file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;
use crate::private;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::failure::engine_error;

/// Copies the store into a new file that only its owner may read.
pub(crate) async fn backup(shared: &Arc<Shared>, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Invalid(format!("{} exists already", to.display())));
    }
    let Some(target) = to.to_str().map(str::to_owned) else {
        return Err(StoreError::Invalid("the name of a backup must be UTF-8".into()));
    };
    let io = |e: std::io::Error| StoreError::engine("write the backup", e);
    // Created first, because SQLite would create it with a wider mode.
    private::file(to).map_err(io)?;
    let path: PathBuf = to.into();
    let files = shared.files.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let conn = files.writer(1024).map_err(engine_error("copy the store"))?;
        conn.execute("VACUUM INTO ?1", [&target]).map_err(engine_error("copy the store"))?;
        std::fs::File::open(&target).and_then(|file| file.sync_all()).map_err(io)
    })
    .await;
    match copied {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => {
            let _left_behind = std::fs::remove_file(path);
            Err(e)
        }
        Err(e) => Err(StoreError::engine("copy the store", e)),
    }
}
