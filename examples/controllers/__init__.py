"""Three controllers as other teams would write them: Kafka clients that know Clusterflow by its contract.

Read `gcp_network` first, it is all a team writes. `framework` runs it, `contract` holds the rules, and
`cloud` pretends to be the provider. Nothing here imports Clusterflow, so a controller can live in any
repository (or be written in any language).
"""
