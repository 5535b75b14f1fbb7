//! Everything kept between runs.
