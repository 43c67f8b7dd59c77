//! Tests of the invoker and egress with a real store, engine and plugins folder, but without the
//! network side.

mod egress;
mod hub;
mod invoker;
