-- Keeps every plan of Kong's Wasm filters for as long as the worker lives.
--
-- Kong builds a plan anew when a filter chain changes. When Lua collects the old one, the Wasm host destroys the
-- instance in which the new one works, too; a filter's call that is under way then ends in a trap, or the worker in
-- signal 11 (Kong 3.9.1, ngx_http_proxy_wasm_dispatch.c). Kept plans are never collected: each change takes some
-- memory, and the old filters keep ticking.
--
-- Loading it is enough: list it in `plugins`, and add it to no service.

local has_wasm, proxy_wasm = pcall(require, "resty.wasmx.proxy_wasm")

if has_wasm then
  local new = proxy_wasm.new
  local plans = {}

  proxy_wasm.new = function(...)
    local plan, problem = new(...)
    plans[#plans + 1] = plan
    return plan, problem
  end
end

return {
  PRIORITY = 0,
  VERSION = "0.1.0",
}
