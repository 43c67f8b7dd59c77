//! Outgoing connections: which addresses the hub may connect to, and the only ways to connect.
//!
//! Every connection asks here about the address that it is made to. So a name that resolves to
//! another address the second time does not get around the check, and neither does an unusual way
//! of writing an address. Environment proxies are not used; through a proxy that the operator
//! configured, `tunnel` says what cannot be checked.

mod address;
mod connector;
mod dial;
mod resolver;
mod tunnel;

pub use address::{AddressClass, Blocked, check, classify, known_address};
pub(crate) use connector::{ConnectTimeout, GuardedConnector};
pub(crate) use dial::{DialError, dial, dial_address, permitted_addresses, resolve};
pub use tunnel::ForwardProxy;
pub(crate) use tunnel::TunnelError;

/// The addresses that may be connected to beside those of the internet. No word implies another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllowedNetworks {
    /// This machine. Development mode sets it.
    pub loopback: bool,
    /// `@private`: this machine, private networks, and addresses behind a carrier's address
    /// translation.
    pub private: bool,
    /// `@linklocal`: link-local addresses.
    pub link_local: bool,
    /// `@metadata`: cloud metadata services, which give out the machine's credentials.
    pub metadata: bool,
}

impl AllowedNetworks {
    /// The word for private addresses.
    pub const PRIVATE: &str = "@private";
    /// The word for link-local addresses.
    pub const LINK_LOCAL: &str = "@linklocal";
    /// The word for metadata addresses.
    pub const METADATA: &str = "@metadata";

    /// Adds the addresses that a word stands for. False for an unknown word.
    #[must_use]
    pub fn add(&mut self, word: &str) -> bool {
        match word {
            Self::PRIVATE => self.private = true,
            Self::LINK_LOCAL => self.link_local = true,
            Self::METADATA => self.metadata = true,
            _ => return false,
        }
        true
    }
}
