//! Messages from anywhere: no panic, nothing lent beyond the bucket, and what is read is written the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::lease::account::{Account, month_of};
use tollgate::lease::hold::{Hold, tick};
use tollgate::lease::terms::{Offer, Rate};
use tollgate::lease::wire::{Answer, Ask, Batch, Reply};
use tollgate::limit::Month;

const NOW: u64 = 1_795_478_400_000_000;

fuzz_target!(|bytes: &[u8]| {
    let usual = Offer {
        tier: "free".into(),
        rates: vec![Rate { units: 100, seconds: 60, burst: 150 }],
        monthly: Some(1_000),
    };
    if let Ok(batch) = Batch::from_bytes(bytes) {
        assert_eq!(Batch::from_bytes(&batch.to_bytes()).as_ref(), Ok(&batch));
        let mut account = Account::default();
        for (step, entry) in batch.entries.iter().enumerate() {
            let offer = batch.offers.get(usize::from(entry.offer)).unwrap_or(&usual);
            let Ok(terms) = offer.terms() else { continue };
            let now = NOW + step as u64 * 1_000;
            match &entry.ask {
                Ask::Lease(lease) => {
                    account.settle(&terms, batch.node, lease, now);
                }
                Ask::Charge { cost } => {
                    account.charge(&terms, *cost, now);
                }
            }
            for (level, bucket) in account.levels.iter().zip(&terms.buckets) {
                assert!(level.work <= bucket.capacity);
            }
            let _ = account.used(month_of(now));
        }
    }
    if let Ok(reply) = Reply::from_bytes(bytes) {
        assert_eq!(Reply::from_bytes(&reply.to_bytes()).as_ref(), Ok(&reply));
        let mut hold = Hold::default();
        for answer in &reply.answers {
            let lease = hold.message(Month(682), 1_000, 0, 0, 1_000);
            if let Answer::Standing(standing) = answer {
                let mut theirs = *standing;
                (theirs.epoch, theirs.seq) = (lease.epoch, lease.seq);
                hold.take(&theirs, 1_000, tick(1_000), tick(1_001));
                assert!(hold.acked <= hold.spent);
            }
        }
    }
});
