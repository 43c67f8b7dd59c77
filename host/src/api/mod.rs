//! The admin API as data: the queries, bodies and answers that the hub, the command line and tests
//! share.
//!
//! One file a resource. Every type is plain and reads back what it writes. What may not live here:
//! logic, the store, and anything that knows how a request travels.

mod access;
mod attempt_reads;
mod audit;
mod cancel;
mod confirm_time;
mod dead_letter;
mod dead_letter_set;
mod delivery;
mod destination;
mod erase;
mod event;
mod export;
mod follow;
mod handler;
mod health;
mod hold;
mod inbox;
mod job;
mod list;
mod live;
pub mod one_of;
pub mod params;
mod payload;
mod problem;
mod quarantine;
mod reconcile;
mod refusal_list;
mod replay;
mod rerun;
mod retry;
mod rule;
mod schedule;
pub mod schema;
mod setting;
mod source;
mod state;
mod stats;
mod unreadable;
mod version;
mod why;

pub use access::{CreateTokenBody, CreatedToken, LoginCode, Proof, Role, TokenView, WhoAmI};
pub use attempt_reads::{AttemptReadsView, ReadValueView};
pub use audit::{ActOutcome, AuditQuery, AuditView};
pub use cancel::{CancelAnswer, CancelBody};
pub use confirm_time::ConfirmTimeAnswer;
pub use dead_letter::{DeadLettersQuery, RequeueAnswer};
pub use dead_letter_set::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCause, DeadLetterCauses, DeadLetterSelection,
    DeadLetterSet, TargetShare,
};
pub use delivery::{AttemptView, DeliveryView, OtherRunView, WaitReason};
pub use destination::DestinationView;
pub use erase::{EraseAnswer, EraseBody};
pub use event::{
    EventAnswer, EventDetailView, EventQuery, EventSummary, EventView, EventsQuery, RefusalView,
    StoredRequestView,
};
pub use export::{ExportPage, ExportQuery, ExportedEvent, LineageView};
pub use follow::{FollowPage, FollowQuery, FollowedEvent};
pub use handler::{GrantsView, HandlerView, HealthState, LimitsView};
pub use health::{
    AliveAnswer, CertificateState, HealthReport, HealthSummary, IntegrityState, LostRowsView,
    PartState, ProviderFileState, ProviderFilesState, SourceErrorView, SourceHealth, StoreState,
};
pub use hold::{HoldView, HoldsQuery, PlaceHoldBody};
pub use inbox::InboxMessageView;
pub use job::{CountJobBody, CreateJobBody, JobCount, JobFilterBody, JobView};
pub use list::{CountAnswer, ListPage};
pub use live::{LiveFrame, LiveQuery};
pub use payload::{BodyView, BytesView, HeaderView, PayloadView};
pub use problem::ApiProblem;
pub use quarantine::{
    QuarantineDetail, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseAllAnswer,
    ReleaseAnswer, ReleaseBody, StillInvalid, TrialQuery,
};
pub use reconcile::{ReconcileAnswer, ReconcileBody, ReconcileRequest, ReconcileResult};
pub use refusal_list::RefusalsQuery;
pub use replay::{DeadLetterFilter, ReplayAnswer, ReplayBody, UnroutedFilter};
pub use rerun::RerunAnswer;
pub use retry::{RetryAnswer, RetryBody};
pub use rule::RuleView;
pub use schedule::ScheduleView;
pub use setting::{SettingView, SettingsAnswer};
pub use source::{
    ConnectionError, FieldChangeView, ForgottenSecret, OpenWindowBody, SampleAnswer, SampleBody,
    SecretAnswer, ShapeView, SourceConnection, SourceView, WindowAnswer,
};
pub use state::{
    StateClearQuery, StateClearedAnswer, StateKeyQuery, StateListQuery, StateSizeView,
    StateValueView, StateWriteBody,
};
pub use stats::{
    DurationStats, HubLevels, SourceCounts, SourceStats, StatsAnswer, StatsQuery, TargetCounts,
    TargetStats,
};
pub use unreadable::UnreadableView;
pub use version::{
    DiffQuery, HandlerDetailView, PinView, ProbationView, RenameAnswer, RenameBody, StrikeView,
    VersionActBody, VersionChangeView, VersionDiffView, VersionEventView, VersionView,
};
pub use why::{CandidateView, HoldOnDelivery, LastAttempt, RoutedDelivery, WhyAnswer};
