//! What a container runtime hands to the plugin, and the list of plugins on a node: no panic, and a list that was added to
//! is the list that it was once ours is taken off again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_redirect::cni::{Call, conflist, run};

fuzz_target!(|input: &[u8]| {
    for command in ["ADD", "CHECK", "DEL"] {
        let call = Call {
            command: command.to_owned(),
            arguments: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web".to_owned(),
            // No network: nothing is done.
            network: "/nonexistent".into(),
        };
        let _ = run(&call, input);
    }
    let Ok(list) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    let bare = conflist::without_ours(&list).unwrap_or(list);
    if let Some(added) = conflist::with_ours(&bare) {
        assert_eq!(conflist::without_ours(&added), Some(bare));
    }
});
