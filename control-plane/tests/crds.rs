#[test]
fn print() {
    for (kind, schema) in weft_control_plane::resource::own_schemas() {
        println!("{kind} {}", serde_json::to_string_pretty(&schema).unwrap());
    }
}
