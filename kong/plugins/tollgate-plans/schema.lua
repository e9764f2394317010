return {
  name = "tollgate-plans",
  fields = {
    { config = { type = "record", fields = {} } },
  },
}
