use super::*;
use crate::zone::{Eviction, crc32};

fn kong() -> SharedData {
    SharedData::kong(vec![Zone::new("t", 1 << 20, Eviction::Slru)])
}

#[test]
fn kong_knows_a_key_by_its_crc32_alone() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32");
    assert_eq!(crc32(b"plumless"), crc32(b"buckeroo"));
    let mut data = kong();
    data.set(b"t/plumless", Some(b"one"), 0).unwrap();
    assert_eq!(data.get(b"t/buckeroo").unwrap(), Some((b"one".to_vec(), 1)));
    assert_eq!(data.len(), 1);
}

#[test]
fn in_kong_none_creates_and_never_overwrites() {
    let mut data = kong();
    assert_eq!(data.set(b"t/a", Some(b"x"), 0).unwrap(), Written::Created);
    assert_eq!(data.set(b"t/a", Some(b"y"), 0).unwrap(), Written::Mismatch);
    assert_eq!(data.set(b"t/b", Some(b"y"), 7).unwrap(), Written::Mismatch, "an absent key has cas 0");
    assert_eq!(data.set(b"t/a", Some(b"y"), 1).unwrap(), Written::Updated);
    assert_eq!(data.get(b"t/a").unwrap(), Some((b"y".to_vec(), 2)));
}

#[test]
fn in_kong_a_deleted_entry_counts_from_one_again() {
    let mut data = kong();
    data.set(b"t/a", Some(b"x"), 0).unwrap();
    data.set(b"t/a", Some(b"y"), 1).unwrap();
    assert_eq!(data.set(b"t/a", None, 2).unwrap(), Written::Updated);
    assert_eq!(data.get(b"t/a").unwrap(), None);
    data.set(b"t/a", Some(b"z"), 0).unwrap();
    assert_eq!(data.get(b"t/a").unwrap(), Some((b"z".to_vec(), 1)));
}

#[test]
fn in_kong_an_empty_value_is_a_value() {
    let mut data = kong();
    data.set(b"t/a", Some(b""), 0).unwrap();
    assert_eq!(data.get(b"t/a").unwrap(), Some((Vec::new(), 1)));
}

#[test]
fn in_envoy_none_overwrites_and_a_sentinel_creates() {
    let mut data = SharedData::envoy();
    assert_eq!(data.get(b"a").unwrap(), None);
    assert_eq!(data.set(b"a", Some(b"x"), u32::MAX).unwrap(), Written::Created);
    assert_eq!(data.set(b"a", Some(b"y"), u32::MAX).unwrap(), Written::Mismatch);
    assert_eq!(data.set(b"a", Some(b"z"), 0).unwrap(), Written::Overwrote);
    assert_eq!(data.get(b"a").unwrap().unwrap().0, b"z");
}

#[test]
fn in_envoy_what_was_created_without_a_cas_is_a_constant() {
    let mut data = SharedData::envoy();
    assert_eq!(data.set(b"probe", Some(b"x"), 0).unwrap(), Written::Created);
    assert_eq!(data.set(b"probe", Some(b"x"), 0).unwrap(), Written::Updated);
    let (_, cas) = data.get(b"probe").unwrap().unwrap();
    assert_eq!(data.set(b"probe", Some(b"y"), cas).unwrap(), Written::Overwrote);
}

#[test]
fn in_envoy_cas_numbers_come_from_one_counter_and_nothing_is_deleted() {
    let mut data = SharedData::envoy();
    data.set(b"a", Some(b"x"), 9).unwrap();
    data.set(b"b", Some(b"x"), 9).unwrap();
    let (_, cas) = data.get(b"b").unwrap().unwrap();
    assert_eq!(cas, 2);
    assert_eq!(data.set(b"b", None, cas).unwrap(), Written::Updated);
    assert_eq!(data.get(b"b").unwrap(), Some((Vec::new(), 3)));
    assert_eq!(data.len(), 2);
}

#[test]
fn a_full_zone_drops_what_was_unused_longest() {
    // Calibrated: 12 MB hold about 48,479 values of 64 bytes; this model holds a little less.
    let mut data = SharedData::kong(vec![Zone::new("*", 12 << 20, Eviction::Slru)]);
    for i in 0..60_000_u32 {
        data.set(format!("{i:08}").as_bytes(), Some(&[7; 64]), 0).unwrap();
    }
    assert!((47_900..=48_479).contains(&data.len()), "{}", data.len());
    assert_eq!(data.evicted(), 60_000 - data.len() as u64);
    assert!(data.get(b"00059999").unwrap().is_some());
    assert!(data.get(b"00000000").unwrap().is_none());
}

#[test]
fn reading_an_entry_keeps_it_in_a_full_zone() {
    let mut data = SharedData::kong(vec![Zone::new("*", 64 << 10, Eviction::Slru)]);
    for i in 0..2_000_u32 {
        data.set(format!("{i:08}").as_bytes(), Some(&[7; 64]), 0).unwrap();
        data.get(b"00000000").unwrap();
    }
    assert!(data.get(b"00000000").unwrap().is_some());
    assert!(data.get(b"00000001").unwrap().is_none());
}

#[test]
fn a_key_finds_the_zone_of_its_prefix_then_the_star() {
    let zone = |name| Zone::new(name, 1 << 16, Eviction::Slru);
    let mut data = SharedData::kong(vec![zone("*"), zone("t")]);
    data.set(b"t/a", Some(b"x"), 0).unwrap();
    data.set(b"other/a", Some(b"x"), 0).unwrap();
    let Store::Kong(zones) = &data.store else { unreachable!() };
    assert_eq!(zones.iter().map(Zone::len).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(SharedData::kong(vec![zone("t")]).get(b"a").unwrap_err().rule, Rule::NoZone);
}

#[test]
fn a_torn_read_mixes_two_values_and_its_cas_is_stale() {
    let mut data = kong();
    data.set(b"t/a", Some(b"oldold"), 0).unwrap();
    data.set(b"t/a", Some(b"newnew"), 1).unwrap();
    data.tear_next_reads(1);
    let (torn, cas) = data.get(b"t/a").unwrap().unwrap();
    assert_eq!(torn, b"newold");
    assert_eq!(data.set(b"t/a", Some(b"torn!!"), cas).unwrap(), Written::Mismatch);
    assert_eq!(data.get(b"t/a").unwrap().unwrap().0, b"newnew");
}

#[test]
fn a_lost_write_finds_that_another_worker_wrote() {
    for mut data in [kong(), SharedData::envoy()] {
        data.set(b"t/a", Some(b"x"), if matches!(data.store, Store::Kong(_)) { 0 } else { 9 }).unwrap();
        let (_, cas) = data.get(b"t/a").unwrap().unwrap();
        data.lose_next_writes(1);
        assert_eq!(data.set(b"t/a", Some(b"y"), cas).unwrap(), Written::Mismatch);
        let (value, newer) = data.get(b"t/a").unwrap().unwrap();
        assert_eq!((value.as_slice(), newer > cas), (&b"x"[..], true));
        assert_eq!(data.set(b"t/a", Some(b"y"), newer).unwrap(), Written::Updated);
    }
}
