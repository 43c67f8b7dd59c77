//! Due deliveries, whatever their target: the claim loop, flow control per target, and settlements.
//!
//! The invoker and egress build on this. Nothing here knows how a delivery is attempted.

mod announce;
pub(crate) mod breakers;
pub(crate) mod claims;
pub(crate) mod flow_control;
pub(crate) mod seed;
pub(crate) mod settle;
pub(crate) mod spans;
pub(crate) mod worker;
