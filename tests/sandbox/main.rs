//! The sandbox, as everybody who may run one: what it gives, what it holds back, and how it ends.

#[macro_use]
mod modes;

mod attempts;
mod basics;
mod container;
mod contract;
mod enforcement;
mod engine;
mod guise;
mod hostile;
mod keep;
mod kills;
mod layers;
mod limits;
mod observe;
mod parcel;
mod remote;
mod speed;
mod tiny;
