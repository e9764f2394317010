//! Usage to money: what a month's use costs each customer.
//!
//! The crate does no input or output: texts, the time and what the store has said come in as values.
//!
//! ```text
//! prices.yaml ──Prices::read──▶ Prices ─┐
//! usage, customers ──payers──▶ [Use] ───┴─Statement::of──▶ Statement ──▶ JSON, CSV (table), HTML (page)
//! ```
//!
//! | module | what it defines |
//! | --- | --- |
//! | [`money`] | amounts, prices and quantities in integers, and the only place that rounds |
//! | [`currency`] | the currencies of ISO 4217 and their minor units |
//! | [`prices`] | a file of prices, checked |
//! | [`payers`] | who pays for a consumer on which day |
//! | [`invoice`] | the lines of one customer |
//! | [`statement`] | all invoices of a month, as JSON has them |
//! | [`table`], [`page`] | the same as CSV and as HTML |
//! | [`seal`] | what differs between a sealed month and a new result |
//!
//! # Rounding
//!
//! Each line is rounded once, half up, to the currency's minor unit: see [`money::charge`]. Every total is the sum of its
//! lines as they are shown, so nothing else is ever rounded.

// In a test, an overflow is a failure like any other.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod currency;
pub mod invoice;
pub mod money;
pub mod page;
pub mod payers;
pub mod prices;
pub mod seal;
pub mod statement;
pub mod table;
