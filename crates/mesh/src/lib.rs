//! Routes, splits, policies, balancing and statistics of Weft, without I/O.
