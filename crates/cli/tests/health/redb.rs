use super::{TRIES, Watched};

/// Below every page of data in the file, and above the log's length, in bytes.
const SMALL: u64 = 4_096;

#[test]
fn a_disk_that_takes_no_byte_is_away_until_it_does() {
    let mut store = Watched::start("redb");
    for round in 0..3 {
        let cause = format!("a full disk, round {round}");
        store.lives_through(
            &cause,
            |store| store.limit_files(Some(SMALL)).unwrap(),
            |store| store.limit_files(None).unwrap(),
            "File too large",
        );
        // Nothing is lost, and no refused charge is counted.
        assert_eq!(store.used(), store.charged, "{cause}");
    }
}

#[test]
fn a_disk_that_fills_up_is_away_once_and_loses_nothing() {
    let mut store = Watched::start("redb");
    let before = store.store.log().len();
    // This leaves little room: old pages can still be written, so some changes are accepted.
    let limit = store.store.file_size().unwrap() + 32_768;
    store.store.limit_files(Some(limit)).unwrap();
    let mut number = 0_u32;
    while store.charge(&format!("{number} {}", "x".repeat(900))) == 200 {
        number += 1;
        assert!(number < 50_000, "the disk does not fill up");
    }
    let statuses: Vec<u16> = (0..TRIES).map(|more| store.charge(&format!("{more} more"))).collect();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    store.store.limit_files(None).unwrap();
    store.comes_back("a disk that has filled up");
    assert_eq!(store.used(), store.charged);
    for charged in 0..number {
        let name = format!("{charged}%20{}", "x".repeat(900));
        let usage = store.client.get(&format!("/v1/usage/n/{name}")).unwrap();
        assert_eq!(usage.json()["used"], 1, "{charged} of {number}");
        if charged > 20 {
            break;
        }
    }
    let said = store.said(before);
    assert!(said.len() <= 2, "{said:#?}");
}
