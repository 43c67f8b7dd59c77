//! The files of a store and the connections to them. Imports `format`.

pub(crate) mod acks;
pub(crate) mod checkpoint;
pub(crate) mod disk_space;
pub(crate) mod identity;
pub(crate) mod readers;
pub(crate) mod slots;
pub(crate) mod store_files;
