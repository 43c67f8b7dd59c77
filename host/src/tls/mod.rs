//! TLS in both directions: certificates of the hub's listeners, and authorities for the servers it
//! calls. Both are read from files and reloaded when these change.

mod delegation;
pub(crate) mod handshake;
mod identity;
pub(crate) mod roots;
mod server;

pub(crate) use delegation::signatures_verified_by;
pub use identity::{ClientIdentity, ClientIdentityError};
pub use roots::TrustedRoots;
pub use server::{
    ClientCa, HTTP_1, HTTP_2_OR_1, Protocols, ServerTls, TlsError, TlsFiles, TlsListener,
};
