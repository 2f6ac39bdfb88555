//! The buckets of DDSketch (Masson, Rim & Lee, VLDB 2019): edges are powers of `gamma = (1 + a) / (1 - a)`, so that a bucket's
//! middle is within the relative accuracy `a` of its values. For data that others bring; the proxy's own histogram is
//! [`weft_mesh::statistics`].

use crate::error::{Error, positive, within};

/// Buckets of one relative accuracy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sketch {
    gamma: f64,
}

impl Sketch {
    /// Buckets of this relative accuracy; an error unless it is above 0 and below 1.
    pub fn new(accuracy: f64) -> Result<Self, Error> {
        let accuracy = within("the accuracy", accuracy, "above 0 and below 1", |a| 0.0 < a && a < 1.0)?;
        Ok(Self { gamma: (1.0 + accuracy) / (1.0 - accuracy) })
    }

    /// The ratio of one edge to the one before.
    pub fn gamma(self) -> f64 {
        self.gamma
    }

    /// The bucket of a value: `ceil(log_gamma(value))`; an error unless that is finite and above 0.
    pub fn index(self, value: f64) -> Result<i32, Error> {
        Ok((positive("the value", value)?.ln() / self.gamma.ln()).ceil() as i32)
    }

    /// The bucket's values are above this, and at most the same of the next bucket.
    pub fn lower(self, index: i32) -> f64 {
        self.gamma.powi(index - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_in_its_bucket(value in 1e-6..1e12_f64, accuracy in 0.001..0.2_f64) {
            let sketch = Sketch::new(accuracy).unwrap();
            let index = sketch.index(value).unwrap();
            prop_assert!(sketch.lower(index) <= value * (1.0 + 1e-9));
            prop_assert!(value <= sketch.lower(index + 1) * (1.0 + 1e-9));
        }
    }
}
