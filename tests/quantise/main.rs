//! Quantised outputs: what their descriptions promise, and the reference against other ways to the same codes.

#[path = "../support/random.rs"]
mod random;
#[path = "../support/values.rs"]
mod values;

mod codes;
mod description;
mod rules;
