//! Labels of metrics that borrow what they say.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

type Pairs<'a> = [(&'a str, &'a str)];

/// Labels whose names and values are at hand.
pub(super) struct Labels<'a>(pub(super) &'a Pairs<'a>, pub(super) &'a Pairs<'a>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel as _;
        self.0.iter().chain(self.1).try_for_each(|label| label.encode(encoder.encode_label()))
    }
}
