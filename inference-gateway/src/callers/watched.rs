//! A file of the configuration that is read again while the gateway runs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use service_runtime::{CancellationToken, read_config_file};
use tokio::time::sleep;
use tracing::{error, info};

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(5);

/// Where it is, and what was last read there.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Watched {
    /// The file at `path` and what `parse` makes of it.
    pub(super) fn read<T>(
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<(Self, T), String> {
        let bytes = read_config_file(path).map_err(|error| error.to_string())?;
        let parsed = parse(&bytes).map_err(|problem| format!("{}: {problem}", path.display()))?;
        Ok((Self { path: path.to_owned(), bytes }, parsed))
    }

    /// Tells of each change until `stop`. A file that cannot be used changes nothing, and is complained of once.
    pub(super) async fn follow<T>(
        mut self,
        parse: impl Fn(&[u8]) -> Result<T, String>,
        tell: impl Fn(T),
        stop: CancellationToken,
    ) {
        let mut complained = false;
        while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
            match Self::read(&self.path, &parse) {
                Ok((now, parsed)) => {
                    complained = false;
                    if now.bytes != self.bytes {
                        info!(file = %self.path.display(), "read again");
                        tell(parsed);
                        self = now;
                    }
                }
                Err(problem) if !complained => {
                    error!(%problem, "a changed file cannot be used; what was read before stays valid");
                    complained = true;
                }
                Err(_) => {}
            }
        }
    }
}
