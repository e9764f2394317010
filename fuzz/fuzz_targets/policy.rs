//! Any text is a policy or a list of problems, each with something to say; a policy that loads can be used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::headers::TierHeaders;
use tollgate::limit::{Account, Verdict, decide_all};
use tollgate::policy::Policy;
use tollgate::units::UnixNanos;

fuzz_target!(|bytes: &[u8]| {
    match Policy::from_configuration(bytes) {
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
        Ok(policy) => {
            for tier in policy.tiers.iter().chain([&policy.anonymous]) {
                let _ = TierHeaders::new(tier);
                for rule in &policy.endpoints {
                    let now = UnixNanos::from_seconds(1_795_478_400);
                    // What loads can be allowed: a full bucket takes every price of the list.
                    assert_eq!(decide_all(&mut Account::default(), tier, rule.cost, now), Verdict::Allowed);
                }
            }
        }
    }
});
