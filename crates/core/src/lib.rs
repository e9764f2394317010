//! What gateways and the store have in common: limits, policies, clients, headers, and the messages between the two.
//!
//! This crate uses no other crate of Tollgate, and knows neither a host nor a clock, a network or a database. Time, randomness
//! and bytes come in as arguments, and all decisions use integers.
//!
//! Begin with [`policy`]: it is what an operator wrote, as values that cannot be wrong. [`account::decide_all`] decides about a
//! request by it. The modules, from the numbers up:
//!
//! | module | what it defines |
//! | --- | --- |
//! | [`units`] | the numbers: moments, durations, costs |
//! | [`limit`] | one rate: a limit, the level of a bucket under it, and the calendar month |
//! | [`tier`] | the limits that a class of clients has |
//! | [`account`] | what one client has spent, and the step that checks every limit and then charges every one |
//! | [`client`], [`name`] | how a client is numbered, and how its name is written |
//! | [`path`], [`price`] | how a path is read, and what a request to it costs |
//! | [`headers`] | what a response tells the client |
//! | [`spreadsheet`] | names in a table that a spreadsheet opens |
//! | [`terms`], [`wire`] | a tier in the store's numbers, and the messages between gateway and store |
//! | [`capability`] | what a gateway has to grant the filter |

// In a test an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod account;
pub mod capability;
pub mod client;
pub mod headers;
pub mod limit;
pub mod name;
pub mod path;
pub mod policy;
pub mod price;
pub mod spreadsheet;
pub mod terms;
pub mod tier;
pub mod units;
pub mod wire;
