//! The gRPC contracts of Weft and the types generated from them.
