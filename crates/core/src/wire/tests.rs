use super::*;
use crate::terms::Rate;
use crate::units;
use proptest::prelude::*;

fn batch() -> Batch {
    let lease = LeaseRequest {
        epoch: 900_000,
        seq: 3,
        spent: units::Cost(12_000),
        acked: units::Cost(11_000),
        spent_before_day: units::Cost(2_000),
        day: 682,
        hold: units::Cost(1_000),
        need: units::Cost(2_000),
        queued: units::Cost(3_000),
        want: units::Cost(8_000),
        since: [0, 1, 60_000_500].map(units::Micros),
        returned: Returned::default(),
    };
    Batch {
        namespace: "fingerprint".into(),
        node: 0x0123_4567_89AB_CDEF,
        revision: 4,
        offers: vec![Offer {
            tier: "free".into(),
            rates: vec![Rate { units: 100, seconds: 60, burst: 150 }],
            monthly: Some(50_000),
        }],
        entries: vec![
            Entry {
                client: ClientId([0x11; 16]),
                name: Some(b"acme-free".to_vec()),
                ask: Ask::Lease(lease),
                ..Entry::default()
            },
            Entry {
                client: ClientId([0x22; 16]),
                is_anonymous: true,
                ask: Ask::Charge { cost: units::Cost(2_000) },
                ..Entry::default()
            },
        ],
    }
}

fn reply() -> Reply {
    Reply {
        now: units::UnixMicros(1_795_478_400_000_000),
        revision: 5,
        is_whole: false,
        changes: vec![Change { client: ClientId([0x33; 16]), what: ChangeKind::Reset }],
        answers: vec![
            Answer::Grant(Grant {
                epoch: 900_000,
                seq: 3,
                spent: units::Cost(12_000),
                hold: units::Cost(9_000),
                ttl: units::Millis(10_000),
                idle: units::Millis(5_000),
                used: [units::Cost(12_000), units::Cost(0), units::Cost(0)],
                month: 682,
                month_used: units::Cost(12_000),
                refusal: None,
            }),
            Answer::Stale,
        ],
    }
}

/// What older and newer releases put on the wire; `docs/lease-protocol.md` explains it.
/// With `TOLLGATE_BLESS=1` it writes the files instead: for a new version alone.
#[test]
fn the_messages_bytes_never_change_within_a_version() {
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lease");
        std::fs::write(format!("{folder}/batch.v2"), batch().to_bytes()).unwrap();
        std::fs::write(format!("{folder}/returning.v2"), returning().to_bytes()).unwrap();
        std::fs::write(format!("{folder}/reply.v2"), reply().to_bytes()).unwrap();
        return;
    }
    assert_eq!(Batch::from_bytes(include_bytes!("../../../../tests/golden/lease/batch.v2")), Ok(batch()));
    assert_eq!(batch().to_bytes(), include_bytes!("../../../../tests/golden/lease/batch.v2"));
    assert_eq!(Reply::from_bytes(include_bytes!("../../../../tests/golden/lease/reply.v2")), Ok(reply()));
    assert_eq!(reply().to_bytes(), include_bytes!("../../../../tests/golden/lease/reply.v2"));
}

/// The batch in which the first entry's client got something back.
fn returning() -> Batch {
    let mut batch = batch();
    if let Ask::Lease(lease) = &mut batch.entries[0].ask {
        lease.returned = Returned { cost: units::Cost(15_000), age: units::Micros(2_000_000) };
    }
    batch
}

/// A store of version 2 that knows of no returns refuses such a batch, and an entry without returns is what it always was.
#[test]
fn what_came_back_is_a_kind_of_its_own() {
    let bytes = include_bytes!("../../../../tests/golden/lease/returning.v2");
    assert_eq!(Batch::from_bytes(bytes), Ok(returning()));
    assert_eq!(returning().to_bytes(), bytes);
}

#[test]
fn another_version_is_named() {
    let mut bytes = batch().to_bytes();
    bytes[0] = 9;
    assert_eq!(Batch::from_bytes(&bytes), Err(WireError::Version(9)));
    assert_eq!(Batch::from_bytes(&[]), Err(WireError::Malformed));
}

#[test]
fn more_than_a_message_may_hold_is_refused() {
    let long = Batch { entries: vec![Entry::default(); MAX_ENTRIES + 1], ..Batch::default() };
    assert_eq!(Batch::from_bytes(&long.to_bytes()), Err(WireError::TooLong));
    let named = Entry { name: Some(vec![b'a'; MAX_NAME + 1]), ..Entry::default() };
    let long = Batch { entries: vec![named], ..Batch::default() };
    assert_eq!(Batch::from_bytes(&long.to_bytes()), Err(WireError::TooLong));
}

proptest! {
    #[test]
    fn torn_and_foreign_bytes_are_refused_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..200,
    ) {
        let _ = (Batch::from_bytes(&bytes), Reply::from_bytes(&bytes));
        let whole = batch().to_bytes();
        if cut < whole.len() {
            prop_assert!(Batch::from_bytes(&whole[..cut]).is_err());
        }
    }
}
