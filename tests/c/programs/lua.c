/* Runs a script with all of Lua's libraries, also those that want files. */
#include <lua5.4/lauxlib.h>
#include <lua5.4/lualib.h>
#include <stdio.h>

static const char script[] =
    "io.write(string.format('%.6f %d\\n', math.sin(2), 10 // 3))\n"
    "print(io.read('l'), os.getenv('HOME'), type(os.time()))\n"
    "print(io.open('/none'))\n"
    "print(pcall(require, 'none') == false, #package.path > 0)\n";

int main(void)
{
    lua_State *lua = luaL_newstate();

    luaL_openlibs(lua);
    int failed = luaL_dostring(lua, script);
    if (failed)
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    lua_close(lua);
    return failed;
}
