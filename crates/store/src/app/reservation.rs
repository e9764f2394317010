//! What applications call a reservation, and what is kept with it to answer alike again.
//!
//! The text that an application gets names the namespace, the client and the number, so settling needs no search: any replica
//! finds the keys. It is no secret and gives no right. The call's token does.

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use rustls::crypto::ring;
use serde::{Deserialize, Serialize};
use tollgate_core::client::{ClientId, Namespace};
use tollgate_core::policy::HeaderFamilies;
use tollgate_core::terms::Offer;

use super::check::{Decision, Offered};
use super::name;
use super::problem::AppError;
use super::tier::CompiledTier;
use crate::accounts::{Decided, Reservation, ReservationId};
use crate::backend::ReservationKey;

/// The longest text of a reservation, in bytes.
pub const MAX_RESERVATION: usize = name::MAX_NAMESPACE + 2 * (1 + 32);

/// What [`ReservationName::parse`] accepts, as a regular expression for the API's description.
pub const RESERVATION: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}~[0-9a-f]{32}~[0-9a-f]{32}$";

/// Which reservation: `NAMESPACE~CLIENT~NUMBER`, where both numbers have 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationName {
    /// The namespace.
    pub namespace: String,
    /// The client, and the number among its reservations.
    pub key: ReservationKey,
}

impl ReservationName {
    /// Reads what [`Display`] writes.
    ///
    /// # Errors
    /// The text is no reservation; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let parsed = || {
            let mut parts = text.split('~');
            let (namespace, client, number) = (parts.next()?, parts.next()?, parts.next()?);
            let is_whole = parts.next().is_none() && name::namespace(namespace).is_ok();
            let key = (number_of(client)?, ReservationId(number_of(number)?.0));
            is_whole.then(|| Self { namespace: namespace.to_owned(), key })
        };
        parsed().ok_or_else(|| {
            AppError::Unprocessable("reservation is not one; write what /v1/reserve answered".to_owned())
        })
    }
}

impl Display for ReservationName {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let (client, ReservationId(number)) = self.key;
        write!(out, "{}~{client}~{}", self.namespace, ClientId(number))
    }
}

/// The number that `text` writes as a client's is written.
fn number_of(text: &str) -> Option<ClientId> {
    let number = ClientId(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
    (number.to_string() == text).then_some(number)
}

/// The number of the reservation that the application calls `id`, or one that no other has.
///
/// # Errors
/// The system gives no random numbers.
pub fn number(namespace: &str, client: ClientId, id: Option<&str>) -> Result<ReservationId, AppError> {
    if let Some(id) = id {
        return Ok(ReservationId(Namespace::new(namespace).reservation(client, id)));
    }
    let mut number = [0; 16];
    let filled = ring::default_provider().secure_random.fill(&mut number);
    filled.map_err(|_| AppError::Overloaded("the system has no random numbers; try again"))?;
    Ok(ReservationId(number))
}

/// What the application's answers are made of: the limits as headers write them, and which headers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    offer: Offer,
    x_ratelimit: bool,
    ietf: bool,
}

/// The first byte of every context.
const VERSION: u8 = 1;

impl Context {
    /// The bytes that are kept for an answer about `tier`.
    #[must_use]
    pub fn bytes(tier: &CompiledTier, families: HeaderFamilies) -> Vec<u8> {
        let HeaderFamilies { x_ratelimit, ietf } = families;
        let context = Self { offer: tier.offer.clone(), x_ratelimit, ietf };
        // Writing to a vector cannot fail. If it did, no answer could be made of the empty context.
        postcard::to_extend(&context, vec![VERSION]).unwrap_or_default()
    }

    /// The answer about `decided`, which `reservation` keeps.
    ///
    /// # Errors
    /// The reservation's context cannot be read.
    pub fn decision(reservation: &Reservation, decided: &Decided) -> Result<Decision, AppError> {
        let unreadable = || AppError::corrupt("a reservation's context cannot be read");
        let (_, body) = reservation
            .context
            .split_first()
            .filter(|(version, _)| **version == VERSION)
            .ok_or_else(unreadable)?;
        let Self { offer, x_ratelimit, ietf } = postcard::from_bytes(body).map_err(|_| unreadable())?;
        let tier = CompiledTier::of(&offer).map(Arc::new).map_err(|_| unreadable())?;
        let offered = Offered { families: HeaderFamilies { x_ratelimit, ietf }, ..Offered::default() };
        Ok(Decision::of(&tier, &decided.grant, decided.cost, decided.at.nanos(), &offered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(namespace: &str, client: [u8; 16], number: [u8; 16]) -> ReservationName {
        ReservationName { namespace: namespace.into(), key: (ClientId(client), ReservationId(number)) }
    }

    #[test]
    fn other_spellings_of_a_reservation_are_none() {
        let good = written("n.-_", [0xAB; 16], [0; 16]).to_string();
        assert_eq!(good, format!("n.-_~{}~{}", "ab".repeat(16), "00".repeat(16)));
        let id = "ab".repeat(16);
        for bad in [
            "",
            "~",
            "n~~",
            &format!("{good}~"),
            &format!("~{id}~{id}"),
            &format!("n~{id}~{}", "AB".repeat(16)),
            &format!("n~{id}~+{}", &id[1..]),
            &format!("n~{id}~{}", &id[1..]),
            &format!("a b~{id}~{id}"),
            &format!("{}~{id}~{id}", "n".repeat(65)),
        ] {
            assert!(ReservationName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_name_every_reservation_is_another() {
        let number = |id| number("n", ClientId([1; 16]), id).unwrap();
        assert_eq!(number(Some("x")), number(Some("x")));
        assert_ne!(number(None), number(None));
    }

    proptest! {
        #[test]
        fn a_reservation_is_read_as_it_is_written(
            namespace in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", client in any::<[u8; 16]>(), number in any::<[u8; 16]>(),
        ) {
            let name = written(&namespace, client, number);
            prop_assert!(name.to_string().len() <= MAX_RESERVATION);
            prop_assert_eq!(ReservationName::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>()) {
            let _ = ReservationName::parse(&text);
        }
    }
}
