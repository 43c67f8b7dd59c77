//! The admin API as data: the queries, bodies and answers that the hub, the command line and tests
//! share.
//!
//! One file a resource. Every type is plain and reads back what it writes. What may not live here:
//! logic, the store, and anything that knows how a request travels.

mod access;
mod audit;
mod confirm_time;
mod dead_letter;
mod dead_letter_set;
mod delivery;
mod destination;
mod event;
mod handler;
mod health;
mod hold;
mod inbox;
mod list;
mod live;
pub mod params;
mod payload;
mod problem;
mod quarantine;
mod refusal_list;
mod replay;
mod retry;
mod rule;
pub mod schema;
mod setting;
mod source;
mod stats;
mod unreadable;
mod why;

pub use access::{CreateTokenBody, CreatedToken, LoginCode, Proof, Role, TokenView, WhoAmI};
pub use audit::{ActOutcome, AuditQuery, AuditView};
pub use confirm_time::ConfirmTimeAnswer;
pub use dead_letter::{DeadLettersQuery, RequeueAnswer};
pub use dead_letter_set::{
    DeadLetterActAnswer, DeadLetterActBody, DeadLetterCause, DeadLetterCauses, DeadLetterSelection,
    DeadLetterSet, TargetShare,
};
pub use delivery::{AttemptView, DeliveryView, WaitReason};
pub use destination::DestinationView;
pub use event::{
    EventAnswer, EventDetailView, EventQuery, EventSummary, EventView, EventsQuery, RefusalView,
    StoredRequestView,
};
pub use handler::{GrantsView, HandlerView, HealthState, LimitsView};
pub use health::{
    AliveAnswer, CertificateState, HealthReport, HealthSummary, IntegrityState, LostRowsView,
    PartState, ProviderFileState, ProviderFilesState, SourceErrorView, SourceHealth, StoreState,
};
pub use hold::{HoldView, HoldsQuery, PlaceHoldBody};
pub use inbox::InboxMessageView;
pub use list::{CountAnswer, ListPage};
pub use live::{LiveFrame, LiveQuery};
pub use payload::{BodyView, BytesView, HeaderView, PayloadView};
pub use problem::ApiProblem;
pub use quarantine::{
    QuarantineDetail, QuarantineItem, QuarantineQuery, QuarantineTrial, ReleaseAllAnswer,
    ReleaseAnswer, ReleaseBody, StillInvalid, TrialQuery,
};
pub use refusal_list::RefusalsQuery;
pub use replay::{DeadLetterFilter, ReplayAnswer, ReplayBody, UnroutedFilter};
pub use retry::{RetryAnswer, RetryBody};
pub use rule::RuleView;
pub use setting::{SettingView, SettingsAnswer};
pub use source::{
    FieldChangeView, ForgottenSecret, OpenWindowBody, SampleAnswer, SampleBody, SecretAnswer,
    ShapeView, SourceView, WindowAnswer,
};
pub use stats::{
    DurationStats, HubLevels, SourceCounts, SourceStats, StatsAnswer, StatsQuery, TargetCounts,
    TargetStats,
};
pub use unreadable::UnreadableView;
pub use why::{CandidateView, HoldOnDelivery, LastAttempt, RoutedDelivery, WhyAnswer};
