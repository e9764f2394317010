//! The end-to-end suite, against a real gateway
