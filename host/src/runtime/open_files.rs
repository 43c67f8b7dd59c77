//! How many files the process may have open: connections are files too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open besides connections of senders: the database, its readers, modules, the API's connections,
/// and the connections to destinations.
const FILES_BESIDES: u64 = 512;

/// Raises the limit of this process as far as it may, and returns what it is then. None is no limit.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit on open files stays as it is");
            current
        }
    }
}

/// The connections that there are files for, if they are fewer than those that are `wanted`. At least one: what else
/// is open may be less than thought.
#[must_use]
pub fn connections(limit: Option<u64>, wanted: usize) -> Option<usize> {
    let free = usize::try_from(limit?.saturating_sub(FILES_BESIDES)).unwrap_or(usize::MAX).max(1);
    (free < wanted).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_connections_than_files() {
        assert_eq!(connections(Some(1_024), 10_000), Some(512));
        assert_eq!(connections(Some(20_000), 10_000), None);
        assert_eq!(connections(None, 10_000), None);
        assert_eq!(connections(Some(100), 10_000), Some(1));
    }
}
