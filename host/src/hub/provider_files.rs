//! The operator's provider files while the hub runs: logs their problems once, and saves the last
//! good version of each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, ProviderFile};
use crate::observe::health::Health;
use crate::observe::notice::{Notice, Notices};

/// Reports problems of provider files.
#[derive(Debug)]
pub(crate) struct ProviderFileReporter {
    data: PathBuf,
    health: Arc<Health>,
    notices: Notices,
    /// The last reported problems by file.
    reported: BTreeMap<String, String>,
}

impl ProviderFileReporter {
    /// Saves last good versions in the folder `data`.
    pub(crate) fn new(data: PathBuf, health: Arc<Health>, notices: Notices) -> Self {
        Self { data, health, notices, reported: BTreeMap::new() }
    }

    /// Reports new problems of the files that are in force, and saves last good versions.
    pub(crate) async fn adopt(&mut self, files: Vec<ProviderFile>) {
        let mut reported = BTreeMap::new();
        for file in files.iter().filter(|file| !file.problems.is_empty()) {
            let problems: Vec<_> = file.problems.iter().map(ToString::to_string).collect();
            let problems = problems.join("; ");
            if self.reported.get(&file.file) != Some(&problems) {
                self.report(file);
            }
            reported.insert(file.file.clone(), problems);
        }
        for file in self.reported.keys().filter(|file| !reported.contains_key(*file)) {
            tracing::info!(%file, "provider file is valid again");
        }
        self.reported = reported;
        self.health.set_provider_files(files.clone());
        let data = self.data.clone();
        let keeping = move || config::save_last_good(&data, &files);
        match tokio::task::spawn_blocking(keeping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot save the last good provider files for the next \
                    start");
            }
            Err(error) => tracing::error!(%error, "the last good provider files were not saved"),
        }
    }

    fn report(&self, file: &ProviderFile) {
        for problem in &file.problems {
            if let Some(provider) = &file.provider {
                tracing::error!(
                    %provider,
                    %problem,
                    "invalid provider file; its last good version is used (check it with `weir \
                     providers test`)"
                );
            } else {
                tracing::error!(
                    %problem,
                    "invalid provider file without a last good version; its provider is unknown \
                     (check it with `weir providers test`)"
                );
            }
        }
        if let Some(problem) = file.problems.first() {
            self.notices.post(Notice::ProviderLoadFailed {
                provider: file.provider.as_deref().unwrap_or(&file.file).into(),
                problem: problem.clone(),
                serves_on: file.provider.is_some(),
            });
        }
    }
}
