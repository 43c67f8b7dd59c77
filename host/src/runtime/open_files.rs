//! The limit on open files of the process. Connections count as files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files besides the connections of senders: the database, its readers, modules, connections
/// of the API and to destinations.
const OTHER_FILES: u64 = 512;

/// Raises the limit as far as permitted, and returns it. None means no limit.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit on open files is not raised");
            current
        }
    }
}

/// The number of connections that the limit permits, if it is lower than `wanted`. At least one,
/// because [`OTHER_FILES`] is an estimate.
#[must_use]
pub fn connections(limit: Option<u64>, wanted: usize) -> Option<usize> {
    let free = usize::try_from(limit?.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(1);
    (free < wanted).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_by_open_files() {
        assert_eq!(connections(Some(1_024), 10_000), Some(512));
        assert_eq!(connections(Some(20_000), 10_000), None);
        assert_eq!(connections(None, 10_000), None);
        assert_eq!(connections(Some(100), 10_000), Some(1));
    }
}
