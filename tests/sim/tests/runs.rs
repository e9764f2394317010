//! Runs by name: what was found once stays found, and the same seed is the same run.

use tollgate_sim::plan::SECOND;
use tollgate_sim::run::run;
use tollgate_sim::scenario::{ALL, named};

/// Seeds that have shown a fault of the product's, or one of the simulator's own, by what it was.
const REGRESSIONS: [(&str, &str, u64); 17] = [
    ("use without limits is reported whatever the clock shows", "unlimited", 5_225_608_189_600_411_232),
    ("a message without an answer does not keep its record for ever", "calm", 6_293_685_368_797_016_114),
    ("a record that nobody speaks for is reported under its own tier", "replicas", 8_389_059_315_390_005_483),
    ("what is given up because of a reset is not taken for spent", "admin", 498_000_586_225_253_321),
    ("what a dead gateway held drains from its lease's end on", "gateways", 1_751_210_918_663_364_343),
    ("and where it is the first client to ask", "gateways", 1_839_666_186_122_556_555),
    ("and where one gateway is all there is", "gateways", 3_033_978_744_134_377_599),
    ("who passes where others were faster is counted", "outage", 244_607_573_837_484_771),
    ("a rollout that a later one has overtaken changes no gateway", "admin", 739_096_415_889_005_315),
    ("a report that waits for Redis fills the bucket when it is back", "limits", 7_352_714_270_337_534_276),
    ("a month that turns by a wall clock in an outage", "turn", 6_340_065_139_532_187_083),
    ("and where that clock is minutes behind", "turn", 7_413_947_021_377_924_817),
    ("of two changes in one trouble the later one holds", "limits", 7_758_957_902_674_000_948),
    ("a policy that comes when all is quiet leaves no lease behind", "rollout", 7_894_289_949_927_935_241),
    ("a calm lease whose worker has lost its memory is back in time", "modest", 7_314_363_116_674_180_988),
    ("a lease waits for its client whichever worker has borrowed it", "fair", 124_976_122_279_821_669),
    ("who is refused because it need not ask is asked for", "fair", 6_362_985_802_270_915_911),
];

#[test]
fn what_was_mended_stays_mended() {
    for (name, scenario, seed) in REGRESSIONS {
        let plan = named(scenario).unwrap().plan(seed);
        if let Some(violation) = run(&plan, false).violation {
            panic!("{name}: {violation:?}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run_bit_for_bit() {
    for scenario in &ALL {
        let mut plan = scenario.plan(4_711);
        plan.length = 60 * SECOND;
        let (first, second) = (run(&plan, true), run(&plan, true));
        assert_eq!(first.digest, second.digest, "{}", scenario.name);
        assert_eq!(first.lines, second.lines, "{}", scenario.name);
        assert!(first.counts.requests > 0, "{}", scenario.name);
    }
}
