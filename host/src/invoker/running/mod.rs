//! Runs of handlers: a batch of claims is run, decided and settled.
//!
//! `batch` sees a batch through, `run` runs one claim of it, `paired` runs it twice if the version
//! is on probation and fails, `decide` says what the report of a run means, and `settle` settles
//! it. `slots` chooses the run that goes next. `reply_broker` and `responder_policy` are for
//! responders.
//!
//! Not here: which version serves (`handlers` has it), and where it comes from
//! (`plugins`).

pub(crate) mod batch;
mod decide;
mod paired;
pub(crate) mod recorded_reads;
pub(crate) mod reply_broker;
pub(crate) mod responder_policy;
mod run;
mod settle;
pub(crate) mod slots;
mod version_health;
