//! Requests while the store is gone, hangs, is slow or answers nonsense.

use std::time::Duration;

use tollgate_testkit::chaos::Weather;

use crate::Cluster;
use crate::trial::{self, Extent, Trial};

fn cluster(backend: &str) -> Cluster {
    Cluster::in_chaos(2, backend, trial::policy)
}

/// Every call meets this weather for a while.
fn weather(weather: Weather) {
    let mut cluster = cluster("memory");
    let trial = Trial::run(
        &mut cluster,
        Extent::All,
        |broken| broken.chaos().set(weather),
        |mended| mended.chaos().set(Weather::Fair),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}

#[test]
fn a_store_that_is_killed_and_started_again_harms_nobody_and_loses_nothing() {
    let mut cluster = cluster("redb");
    let trial = Trial::run(
        &mut cluster,
        Extent::All,
        |broken| broken.store.kill(),
        |mended| mended.store.restart().unwrap(),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}

#[test]
fn a_store_that_hangs_and_goes_on_harms_nobody() {
    let mut cluster = cluster("memory");
    let trial = Trial::run(
        &mut cluster,
        Extent::All,
        |broken| broken.store.freeze(true).unwrap(),
        |mended| mended.store.freeze(false).unwrap(),
    );
    trial.assert_harmless();
    trial.assert_nothing_lost(&cluster);
}

#[test]
fn a_store_that_answers_after_a_second_harms_nobody() {
    weather(Weather::Late(Duration::from_secs(1)));
}

#[test]
fn a_store_that_talks_nonsense_harms_nobody() {
    weather(Weather::Garbage);
}

#[test]
fn a_store_that_answers_500_harms_nobody() {
    weather(Weather::Failing);
}

#[test]
fn a_store_that_ends_its_replies_in_the_middle_harms_nobody() {
    weather(Weather::Half);
}

#[test]
fn a_store_that_takes_calls_and_closes_harms_nobody() {
    weather(Weather::Closing);
}

#[test]
fn a_store_that_resets_connections_harms_nobody() {
    weather(Weather::Resetting);
}
