//! What holds whatever nodes report, and what honest nodes let through.

use super::*;
use proptest::prelude::*;
use tollgate_core::wire::Returned;

fn any_lease() -> impl Strategy<Value = LeaseRequest> {
    let small = || 0..200 * UNIT;
    (
        prop_oneof![6..9_u64, any::<u64>()],
        prop_oneof![0..6_u32, any::<u32>()],
        [small().boxed(), any::<u64>().boxed()].map(|some| some),
        any::<u16>(),
        [small(), small(), small()],
        prop::bool::weighted(0.05),
    )
        .prop_map(|(epoch, seq, [spent, absurd], day, [hold, need, want], is_absurd)| LeaseRequest {
            epoch,
            seq,
            spent: if is_absurd { Cost(absurd) } else { Cost(spent) },
            acked: Cost(absurd % 50_000),
            spent_before_day: Cost(absurd % 200_000),
            day,
            hold: if is_absurd { Cost(absurd) } else { Cost(hold) },
            need: Cost(need),
            queued: Cost(absurd % 9_000),
            want: if is_absurd { Cost(absurd) } else { Cost(want) },
            since: [absurd % 3, LONGEST_EMPTY.0 - absurd % 10, absurd % (2 * LONGEST_EMPTY.0)].map(Micros),
            returned: Returned { cost: Cost(absurd % 3 * need), age: Micros(absurd % 90 * SECOND) },
        })
}

proptest! {
    /// Whatever nodes report, the bucket's level and what is lent fit into the bucket and the month.
    #[test]
    fn no_message_makes_the_store_lend_more_than_there_is(
        steps in prop::collection::vec((1..4_u64, any_lease(), 0..20 * SECOND), 1..60),
    ) {
        let terms = terms(&[(100, 60, 150), (20, 1, 100)], Some(1_000));
        let mut account = Account::default();
        let mut now = NOW;
        for (node, lease, elapsed) in steps {
            now += elapsed;
            let before = account.clone();
            let applied = account.apply(&terms, node, &lease, UnixMicros(now));
            let lent = account.lent();
            if let Applied::Grant(grant) = applied {
                prop_assert!(grant.hold <= Cost(EXACT));
                let grew = lent > before.lent();
                for (level, bucket) in account.levels.iter().zip(&terms.buckets) {
                    prop_assert!(level.work <= bucket.capacity);
                    prop_assert!(!grew || level.work.plus(bucket.work_of(lent)) <= bucket.capacity);
                }
                prop_assert!(!grew || account.used(month_of(UnixMicros(now))).plus(lent) <= Cost(1_000 * UNIT));
            }
            prop_assert!(account.loans.len() <= 3);
        }
    }

    /// What honest nodes let through together stays below capacity + rate·t, and the usage is exact.
    #[test]
    fn honest_nodes_never_let_through_more_than_the_limit(
        steps in prop::collection::vec((0..3_usize, 1..5_u64, 0..3_u64, 0..2 * SECOND, 0..4_u8), 1..200),
    ) {
        let terms = terms(&[(100, 60, 150)], None);
        let mut account = Account::default();
        let (mut nodes, mut now, mut admitted) = ([(0_u32, 0_u64, 0_u64); 3], NOW, Vec::new());
        for (node, cost, want, elapsed, fate) in steps {
            now += elapsed;
            let (seq, spent, hold) = &mut nodes[node];
            let cost = cost * UNIT;
            if *hold < cost {
                *seq += 1;
                let lease = ask(*seq, *spent, *hold, cost, want * 3 * UNIT);
                if fate == 0 { continue } // The message is lost.
                let reply = grant(account.apply(&terms, node as u64, &lease, UnixMicros(now)));
                if fate == 1 { *hold = 0; continue } // The reply is lost; the node is right to hold less.
                *hold = reply.hold.0;
            }
            if *hold >= cost {
                *hold -= cost;
                *spent += cost;
                admitted.push((now, cost));
            }
        }
        for (first, (start, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &admitted[first..] {
                sum += cost;
                let most = 150 * UNIT + (at - start) * 100 * UNIT / (60 * SECOND) + 1;
                prop_assert!(sum <= most, "{sum} in {} us", at - start);
            }
        }
        for (node, (seq, spent, _)) in nodes.into_iter().enumerate() {
            account.apply(&terms, node as u64, &ask(seq + 1, spent, 0, 0, 0), UnixMicros(now));
        }
        let all: u64 = admitted.iter().map(|(_, cost)| cost).sum();
        prop_assert_eq!(months(&account), all);
    }
}
