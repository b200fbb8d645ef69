-- Runs each request as Lua, and answers with what it returns.
local host = assert(io.open("/dev/hyperlight", "r+"))
while true do
    local run, why = load(host:read("a"), "=request")
    local done, result = false, why
    if run then
        done, result = pcall(run)
    end
    host:write(done and "" or "error: ", tostring(result))
    host:flush() -- as C wants it between writing and reading
end
