//! What every engine must do, asked through the trait. Where a test looks into the file itself, its name says so
//! or it is about files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abandoned;
mod claims;
mod clock;
mod common;
mod crash;
mod effects;
mod ingest;
mod look_over;
mod lost;
mod order;
mod replaced;
mod replay;
mod replies;
mod rot;
mod settling;
mod upkeep;
