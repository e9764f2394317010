//! Messages from anywhere: no panic, nothing is lent beyond bucket and month, and what is read is written the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::name::MAX_NAME;
use tollgate_core::terms::{EXACT, Offer, Rate, Terms};
use tollgate_core::units::{Cost, Micros, Millis, UnixMicros, Work};
use tollgate_core::wire::{Answer, Ask, Batch, Grant, LeaseRequest, MAX_ENTRIES, MAX_OFFERS, Reply};
use tollgate_node::clock::NodeMillis;
use tollgate_node::lease::{LeaseState, Spend, Wish};
use tollgate_store::accounts::{Account, Applied, month_of};

/// 2026-11-24T00:00:00Z.
const NOW: u64 = 1_795_478_400_000_000;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = Batch::from_bytes(bytes) {
        assert_eq!(Batch::from_bytes(&batch.to_bytes()).as_ref(), Ok(&batch));
        assert!(batch.entries.len() <= MAX_ENTRIES && batch.offers.len() <= MAX_OFFERS);
        assert!(batch.namespace.len() <= MAX_NAME);
        apply_entries(&batch);
    }
    if let Ok(reply) = Reply::from_bytes(bytes) {
        assert_eq!(Reply::from_bytes(&reply.to_bytes()).as_ref(), Ok(&reply));
        for answer in &reply.answers {
            if let Answer::Grant(grant) = answer {
                spend_grant(grant);
            }
        }
    }
});

/// Applies all entries as one client's: the account lends no more than its bucket and month hold.
fn apply_entries(batch: &Batch) {
    let usual = Offer {
        tier: "free".into(),
        rates: vec![Rate { units: 100, seconds: 60, burst: 150 }],
        monthly: Some(1_000),
    };
    let mut account = Account::default();
    for (step, entry) in batch.entries.iter().enumerate() {
        let offer = batch.offers.get(usize::from(entry.offer)).unwrap_or(&usual);
        let Ok(terms) = offer.terms() else { continue };
        let now = NOW + step as u64 * 1_000;
        match &entry.ask {
            Ask::Lease(lease) => lend(&mut account, &terms, batch.node, lease, now),
            Ask::Charge { cost } => {
                let grant = account.charge(&terms, *cost, UnixMicros(now));
                if grant.refusal.is_none() && *cost > Cost(0) {
                    is_within(&account, &terms, now);
                }
            }
        }
        // An earlier, larger limit may have left more than this one holds; then nothing is lent (`is_within`).
        assert!(account.levels.iter().all(|level| level.work <= Work(EXACT)));
    }
}

fn lend(account: &mut Account, terms: &Terms, node: u64, lease: &LeaseRequest, now: u64) {
    let known = account.loans.iter().find(|loan| loan.node == node).map(|loan| (loan.epoch, loan.seq));
    let Applied::Grant(grant) = account.apply(terms, node, lease, UnixMicros(now)) else { return };
    assert_eq!((grant.epoch, grant.seq), (lease.epoch, lease.seq));
    let is_repeated = known == Some((lease.epoch, lease.seq));
    // The grant is more than the node reported to hold: the rest was lent just now.
    if !is_repeated && grant.hold > lease.hold {
        is_within(account, terms, now);
        assert_eq!(grant.refusal, None);
    }
    if !is_repeated && grant.refusal.is_none() {
        assert!(grant.hold >= lease.need.min(Cost(EXACT)), "what it needs, or a refusal");
    }
    if let Some(refusal) = grant.refusal {
        assert!(refusal.limits != 0 || refusal.month, "a refusal says by what");
    }
}

/// Checks that spending and leases together fit the buckets and the month.
fn is_within(account: &Account, terms: &Terms, now: u64) {
    let lent: u128 = account.loans.iter().map(|loan| u128::from(loan.lent.0)).sum();
    for (level, bucket) in account.levels.iter().zip(&terms.buckets) {
        assert!(u128::from(level.work.0) + lent * u128::from(bucket.weight) <= bucket.capacity.0.into());
    }
    if let Some(quota) = terms.monthly {
        assert!(u128::from(account.used(month_of(UnixMicros(now))).0) + lent <= quota.0.into());
    }
}

/// A node takes over what the store grants, and spends no more than that.
fn spend_grant(grant: &Grant) {
    let mut lease = LeaseState::default();
    let request = lease.message(
        Wish { need: Cost(1_000), ..Wish::default() },
        [Micros(0); 3],
        Millis(0),
        NodeMillis(1_000),
    );
    let mut theirs = *grant;
    (theirs.epoch, theirs.seq) = (request.epoch, request.seq);
    lease.apply_grant(&theirs, &request, NodeMillis(1_000).tick(), NodeMillis(1_001).tick());
    assert!(lease.left <= grant.hold);
    let (left, spent) = (lease.left, lease.spent);
    for _ in 0..8 {
        if lease.spend(Cost(grant.hold.0 / 3 + 1), NodeMillis(1_001).tick()) != Spend::Paid {
            break;
        }
    }
    assert!(lease.spent.less(spent) <= left && left.less(lease.left) == lease.spent.less(spent));
}
