//! What [`Backend::probe`](super::Backend::probe) writes: a charge of 0 to a client that does not exist.

use std::sync::Arc;
use tollgate_core::units::Cost;

use tollgate_core::client::ClientId;
use tollgate_core::terms::Terms;
use tollgate_core::wire::Ask;

use super::AccountEntry;

/// The namespace of the charge. No policy can have it, and no listing shows it.
pub(super) const NAMESPACE: &str = "";

/// The charge.
pub(super) fn charge(client: ClientId) -> AccountEntry {
    AccountEntry {
        client,
        name: None,
        // An anonymous client's account would have to be forgotten again.
        is_anonymous: false,
        tier: "".into(),
        terms: Arc::new(Terms::default()),
        node: 0,
        ask: Ask::Charge { cost: Cost(0) },
    }
}
