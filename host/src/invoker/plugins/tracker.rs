//! Decides what to do about the files in the plugins folder. Pure: listings and the time go in,
//! actions come out.
//!
//! Files are loaded once they have not changed for a while (the settle time), whatever the file
//! system reported in between, and once more when they have not changed for much longer. A file
//! that is still being written may have looked complete the first time, and some file systems do
//! not tell two close changes apart. A handler whose file is gone gets a grace period before it is
//! retired.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::name::HandlerName;

/// The second load comes after this many settle times without a change.
const FINAL_AFTER: u32 = 20;

/// The metadata that changes with a file's content. Each part alone may stay: `cp -p` keeps length
/// and modification time, and a mount may bring another file with the same inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PluginStamp {
    /// In bytes.
    pub(super) length: u64,
    /// Modification time in nanoseconds since the epoch. The writer can set it.
    pub(super) modified: u128,
    /// Change time by the system's clock: seconds and nanoseconds.
    pub(super) changed: (i64, i64),
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// The stamps of one handler's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandlerStamps {
    /// Of `NAME.wasm`.
    pub(super) module: PluginStamp,
    /// Of `NAME.toml`, if there is one.
    pub(super) sidecar: Option<PluginStamp>,
    /// A hash over the names and stamps of its fixtures; zero if there are none.
    pub(super) fixtures: u64,
    /// Of `NAME.sig`, if there is one.
    pub(super) signature: Option<PluginStamp>,
}

/// An action on a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FolderAction {
    /// Its files are new or have changed, and have not changed since for the settle time.
    Load(HandlerName),
    /// Its files have not changed for long: they are complete, so any problem with them is final.
    LoadFinal(HandlerName),
    /// Its file is gone. The grace period begins.
    MarkMissing(HandlerName),
    /// Its grace period is over.
    Retire(HandlerName),
}

impl FolderAction {
    pub(super) fn handler(&self) -> &HandlerName {
        match self {
            Self::Load(name)
            | Self::LoadFinal(name)
            | Self::MarkMissing(name)
            | Self::Retire(name) => name,
        }
    }
}

/// The known files of the folder. Times count from any fixed moment.
#[derive(Debug)]
pub(super) struct FolderTracker {
    settle: Duration,
    grace: Duration,
    handlers: BTreeMap<HandlerName, Tracked>,
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
enum Tracked {
    /// Its files have had these stamps since then.
    Present { stamps: HandlerStamps, since: Duration, loaded: LoadState },
    /// Its file is gone; since then, or since before the first listing.
    Gone { since: Option<Duration> },
}

/// The loads of files with their present stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadState {
    Never,
    /// Once, and the files may be incomplete.
    Unclear,
    Once,
    Finally,
}

impl FolderTracker {
    /// Nothing has been listed yet. `serving` are the handlers that served when the process ended.
    pub(super) fn new(
        settle: Duration,
        grace: Duration,
        serving: impl IntoIterator<Item = HandlerName>,
    ) -> Self {
        let handlers = serving.into_iter().map(|n| (n, Tracked::Gone { since: None })).collect();
        Self { settle, grace, handlers }
    }

    /// Compares a listing with what is known. Returns the actions that are due.
    pub(super) fn observe(
        &mut self,
        folder: &BTreeMap<HandlerName, HandlerStamps>,
        now: Duration,
    ) -> Vec<FolderAction> {
        let mut actions = Vec::new();
        for (name, stamps) in folder {
            self.observe_present(name, *stamps, now, &mut actions);
        }
        let grace = self.grace;
        self.handlers.retain(|name, tracked| {
            if folder.contains_key(name) {
                return true;
            }
            match tracked {
                // It may never have served, but its files may have been loaded before they were
                // removed.
                Tracked::Present { .. } | Tracked::Gone { since: None } => {
                    *tracked = Tracked::Gone { since: Some(now) };
                    actions.push(FolderAction::MarkMissing(name.clone()));
                    true
                }
                Tracked::Gone { since: Some(since) } if now >= *since + grace => {
                    actions.push(FolderAction::Retire(name.clone()));
                    false
                }
                Tracked::Gone { .. } => true,
            }
        });
        actions
    }

    fn observe_present(
        &mut self,
        name: &HandlerName,
        stamps: HandlerStamps,
        now: Duration,
        actions: &mut Vec<FolderAction>,
    ) {
        let changed = Tracked::Present { stamps, since: now, loaded: LoadState::Never };
        let tracked = self.handlers.entry(name.clone()).or_insert(changed);
        match tracked {
            Tracked::Present { stamps: known, since, loaded } if *known == stamps => match loaded {
                LoadState::Never if now >= *since + self.settle => {
                    *loaded = LoadState::Once;
                    actions.push(FolderAction::Load(name.clone()));
                }
                LoadState::Unclear | LoadState::Once
                    if now >= *since + self.settle * FINAL_AFTER =>
                {
                    *loaded = LoadState::Finally;
                    actions.push(FolderAction::LoadFinal(name.clone()));
                }
                _ => {}
            },
            _ => *tracked = changed,
        }
    }

    /// Says that an action could not be carried out and is to be returned again.
    pub(super) fn again(&mut self, action: &FolderAction, now: Duration) {
        match action {
            FolderAction::Load(name) | FolderAction::LoadFinal(name) => {
                if let Some(Tracked::Present { since, loaded, .. }) = self.handlers.get_mut(name) {
                    (*since, *loaded) = (now, LoadState::Never);
                }
            }
            FolderAction::MarkMissing(_) => {}
            FolderAction::Retire(name) => {
                let since = Some(now.saturating_sub(self.grace));
                self.handlers.entry(name.clone()).or_insert(Tracked::Gone { since });
            }
        }
    }

    /// Says that loaded files are wrong or incomplete. The second load will tell.
    pub(super) fn unclear(&mut self, action: &FolderAction) {
        if let Some(Tracked::Present { loaded: loaded @ LoadState::Once, .. }) =
            self.handlers.get_mut(action.handler())
        {
            *loaded = LoadState::Unclear;
        }
    }

    /// True if any handler is known, in the folder or from before.
    pub(super) fn knows_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// The time until an action may be due although nothing changes.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let due = self.handlers.values().filter_map(|tracked| match tracked {
            Tracked::Present { since, loaded: LoadState::Never, .. } => Some(*since + self.settle),
            Tracked::Present { since, loaded: LoadState::Unclear | LoadState::Once, .. } => {
                Some(*since + self.settle * FINAL_AFTER)
            }
            Tracked::Gone { since: Some(since) } => Some(*since + self.grace),
            _ => None,
        });
        due.min().map(|at| at.saturating_sub(now))
    }

    /// True if all files have been loaded, and none may be incomplete.
    pub(super) fn is_quiet(&self) -> bool {
        let open = |tracked: &Tracked| {
            matches!(
                tracked,
                Tracked::Present { loaded: LoadState::Never | LoadState::Unclear, .. }
            )
        };
        !self.handlers.values().any(open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(150);
    const GRACE: Duration = Duration::from_secs(10);
    const STAMP: PluginStamp =
        PluginStamp { length: 0, modified: 0, changed: (0, 0), device: 1, inode: 1 };

    fn name(text: &str) -> HandlerName {
        HandlerName::new(text).unwrap()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn folder(files: &[(&str, u64)]) -> BTreeMap<HandlerName, HandlerStamps> {
        let stamps = |length| HandlerStamps {
            module: PluginStamp { length, ..STAMP },
            sidecar: None,
            fixtures: 0,
            signature: None,
        };
        files.iter().map(|(n, length)| (name(n), stamps(*length))).collect()
    }

    fn tracker() -> FolderTracker {
        FolderTracker::new(SETTLE, GRACE, [])
    }

    fn load(text: &str) -> Vec<FolderAction> {
        vec![FolderAction::Load(name(text))]
    }

    #[test]
    fn a_new_file_is_loaded_when_it_has_settled_and_once_more() {
        let mut tracker = tracker();
        let present = folder(&[("a", 1)]);
        assert_eq!(tracker.observe(&present, ms(0)), []);
        assert_eq!(tracker.next(ms(0)), Some(SETTLE));
        assert_eq!(tracker.observe(&present, ms(149)), []);
        assert!(!tracker.is_quiet());
        assert_eq!(tracker.observe(&present, ms(150)), load("a"));
        assert!(tracker.is_quiet());
        assert_eq!(tracker.next(ms(150)), Some(ms(2_850)));
        assert_eq!(tracker.observe(&present, ms(2_999)), []);
        assert_eq!(tracker.observe(&present, ms(3_000)), [FolderAction::LoadFinal(name("a"))]);
        assert_eq!(tracker.observe(&present, ms(9_000)), []);
        assert_eq!(tracker.next(ms(9_000)), None);
    }

    #[test]
    fn a_problem_is_final_when_the_file_has_not_changed_for_long() {
        let mut tracker = tracker();
        // Written with pauses that are longer than it takes to settle.
        for n in 0..5 {
            tracker.observe(&folder(&[("a", n)]), ms(n * 400));
            let actions = tracker.observe(&folder(&[("a", n)]), ms(n * 400 + 150));
            assert_eq!(actions, load("a"));
            tracker.unclear(&actions[0]);
            assert!(!tracker.is_quiet());
        }
        assert_eq!(tracker.observe(&folder(&[("a", 4)]), ms(4_599)), []);
        assert_eq!(
            tracker.observe(&folder(&[("a", 4)]), ms(4_600)),
            [FolderAction::LoadFinal(name("a"))]
        );
        assert!(tracker.is_quiet());
    }

    #[test]
    fn a_growing_file_is_loaded_when_it_stops_growing() {
        let mut tracker = tracker();
        for n in 0..20 {
            assert_eq!(tracker.observe(&folder(&[("a", n)]), ms(n * 100)), []);
        }
        assert_eq!(tracker.observe(&folder(&[("a", 19)]), ms(2_100)), load("a"));
    }

    #[test]
    fn any_difference_of_the_stamps_is_a_change() {
        let mut tracker = tracker();
        let mut present = folder(&[("a", 1)]);
        tracker.observe(&present, ms(0));
        assert_eq!(tracker.observe(&present, ms(200)), load("a"));
        let changes: [fn(&mut HandlerStamps); 7] = [
            |s| s.module.modified = 5,
            |s| s.module.changed = (0, 1),
            |s| s.module.device = 2,
            |s| s.module.inode = 9,
            |s| s.sidecar = Some(s.module),
            |s| s.sidecar = None,
            |s| s.fixtures = 1,
        ];
        let mut now = 1_000;
        for change in changes {
            change(present.get_mut(&name("a")).unwrap());
            assert_eq!(tracker.observe(&present, ms(now)), []);
            assert_eq!(tracker.observe(&present, ms(now + 150)), load("a"));
            now += 1_000;
        }
    }

    #[test]
    fn a_handler_retires_when_its_grace_period_ends() {
        let mut tracker = tracker();
        tracker.observe(&folder(&[("a", 1)]), ms(0));
        tracker.observe(&folder(&[("a", 1)]), ms(200));
        assert_eq!(
            tracker.observe(&folder(&[]), ms(1_000)),
            [FolderAction::MarkMissing(name("a"))]
        );
        assert_eq!(tracker.observe(&folder(&[]), ms(10_999)), []);
        assert_eq!(tracker.next(ms(10_999)), Some(ms(1)));
        assert_eq!(tracker.observe(&folder(&[]), ms(11_000)), [FolderAction::Retire(name("a"))]);
        assert_eq!(tracker.observe(&folder(&[]), ms(99_000)), []);
    }

    #[test]
    fn a_file_that_comes_back_in_time_is_loaded() {
        let mut tracker = tracker();
        tracker.observe(&folder(&[("a", 1)]), ms(0));
        tracker.observe(&folder(&[("a", 1)]), ms(200));
        tracker.observe(&folder(&[]), ms(1_000));
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(2_000)), []);
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(2_150)), load("a"));
        assert_eq!(
            tracker.observe(&folder(&[("a", 1)]), ms(30_000)),
            [FolderAction::LoadFinal(name("a"))]
        );
        assert_eq!(tracker.observe(&folder(&[("a", 1)]), ms(60_000)), []);
    }

    #[test]
    fn grace_starts_at_the_first_listing_after_a_restart() {
        let mut tracker = FolderTracker::new(SETTLE, GRACE, [name("a")]);
        assert_eq!(tracker.observe(&folder(&[]), ms(5)), [FolderAction::MarkMissing(name("a"))]);
        assert_eq!(tracker.observe(&folder(&[]), ms(10_005)), [FolderAction::Retire(name("a"))]);
    }

    #[test]
    fn a_failed_action_is_returned_again() {
        let mut tracker = tracker();
        let present = folder(&[("a", 1)]);
        tracker.observe(&present, ms(0));
        let actions = tracker.observe(&present, ms(150));
        tracker.again(&actions[0], ms(150));
        assert_eq!(tracker.observe(&present, ms(300)), load("a"));
        tracker.observe(&folder(&[]), ms(1_000));
        let actions = tracker.observe(&folder(&[]), ms(20_000));
        tracker.again(&actions[0], ms(20_000));
        assert_eq!(tracker.observe(&folder(&[]), ms(20_001)), [FolderAction::Retire(name("a"))]);
    }

    proptest! {
        /// Once a file has stayed as it is for long enough, the last action fits its state.
        #[test]
        fn the_last_action_of_any_history_fits_the_end(
            history in prop::collection::vec((prop::option::of(0u64..4), 0u64..20_000), 1..40),
        ) {
            let mut tracker = tracker();
            let (mut now, mut last, mut served) = (0, None, false);
            let end = history.last().unwrap().0;
            let quiet = [(end, 10_000), (end, 10_000), (end, 0)];
            for (file, pause) in history.into_iter().chain(quiet) {
                let present = file.map(|length| ("a", length));
                for action in tracker.observe(&folder(present.as_slice()), ms(now)) {
                    match action {
                        FolderAction::Load(_) | FolderAction::LoadFinal(_) => {
                            (served, last) = (true, file);
                        }
                        FolderAction::MarkMissing(_) => {}
                        FolderAction::Retire(_) => last = None,
                    }
                }
                now += pause;
            }
            prop_assert!(tracker.is_quiet());
            if served { prop_assert_eq!(last, end); }
        }
    }
}
