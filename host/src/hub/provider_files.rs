//! Provider files of the operator's own while the hub runs: what is wrong with one is told once, and what each said when
//! it was last right is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, ProviderFile};
use crate::observe::health::Health;
use crate::observe::notice::{Notice, Notices};

/// Tells of them.
#[derive(Debug)]
pub(crate) struct ProviderFileReporter {
    data: PathBuf,
    health: Arc<Health>,
    notices: Notices,
    /// What was told of each that is wrong.
    told: BTreeMap<String, String>,
}

impl ProviderFileReporter {
    /// Nothing is told yet. What is kept goes into the folder `data`.
    pub(crate) fn new(data: PathBuf, health: Arc<Health>, notices: Notices) -> Self {
        Self { data, health, notices, told: BTreeMap::new() }
    }

    /// These are in force, each as it is or as it was.
    pub(crate) async fn adopt(&mut self, files: Vec<ProviderFile>) {
        let mut told = BTreeMap::new();
        for file in files.iter().filter(|file| !file.problems.is_empty()) {
            let said: Vec<_> = file.problems.iter().map(ToString::to_string).collect();
            let said = said.join("; ");
            if self.told.get(&file.file) != Some(&said) {
                self.tell(file);
            }
            told.insert(file.file.clone(), said);
        }
        for file in self.told.keys().filter(|file| !told.contains_key(*file)) {
            tracing::info!(%file, "nothing is wrong with this provider file any more");
        }
        self.told = told;
        self.health.set_provider_files(files.clone());
        let data = self.data.clone();
        let keeping = move || config::save_last_good(&data, &files);
        match tokio::task::spawn_blocking(keeping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the last good provider files cannot be kept for the next start");
            }
            Err(error) => tracing::error!(%error, "the last good provider files were not kept"),
        }
    }

    fn tell(&self, file: &ProviderFile) {
        for problem in &file.problems {
            if let Some(provider) = &file.provider {
                tracing::error!(
                    %provider,
                    %problem,
                    "provider file cannot be used; its last good version is, until it is mended (`weir providers test` tries it)"
                );
            } else {
                tracing::error!(
                    %problem,
                    "provider file cannot be used and never could, no provider is known by it (`weir providers test` tries it)"
                );
            }
        }
        if let Some(problem) = file.problems.first() {
            self.notices.tell(Notice::ProviderLoadFailed {
                provider: file.provider.as_deref().unwrap_or(&file.file).into(),
                problem: problem.clone(),
                serves_on: file.provider.is_some(),
            });
        }
    }
}
