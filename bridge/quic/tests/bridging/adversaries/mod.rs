//! Those who mean harm, or are broken: each is refused or contained, with a line of the log and a counter; what it makes the bridge hold is bounded; and a pair that behaves goes on, each message once and in order.

mod floods;
mod liars;
mod slow;
mod strangers;
mod streams;
