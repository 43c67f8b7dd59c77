//! The seed of an attempt's random numbers. It comes from the attempt's identity, so that a
//! repetition draws the same.

use sha2::{Digest as _, Sha256};
use weir_core::delivery::Fence;
use weir_core::id::DeliveryId;

/// The seed for a claimed delivery.
#[must_use]
pub(crate) fn of(delivery: DeliveryId, fence: Fence) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"weir attempt 1\0");
    hash.update(delivery.bits().to_be_bytes());
    hash.update(fence.generation.to_be_bytes());
    hash.update(fence.attempt.to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_attempt_has_the_same_seed() {
        let seed = |delivery, generation, attempt| {
            of(DeliveryId::from_bits(delivery), Fence { generation, attempt })
        };
        assert_eq!(seed(1, 0, 1), seed(1, 0, 1));
        assert_ne!(seed(1, 0, 1), seed(2, 0, 1));
        assert_ne!(seed(1, 0, 1), seed(1, 1, 1));
        assert_ne!(seed(1, 0, 1), seed(1, 0, 2));
    }
}
