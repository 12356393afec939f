/* A PKCS#11 module for tests: another one behind it does the work, and a file says what this one alters.
 *
 * REAL is the path of the module behind it, WISHES that of the file: lines "name value", the value in hexadecimal. They are read at every
 * call, so that a test changes its mind while a card is in use.
 *
 *   no-slots 1          there is no reader
 *   no-tokens 1         there is a reader, and no card in it
 *   set BITS            flags that the card shows beside its own
 *   clear BITS          flags of the card that it does not show
 *   about CODE          what C_GetTokenInfo returns
 *   login CODE          what C_Login returns, with no PIN shown to the card
 *   sign CODE           what C_SignInit returns
 *   hide-class NUMBER   objects of that class are not found
 *   hide-mechanism N    the card does not have this mechanism, and does not sign with it
 *   initialize CODE     what C_Initialize returns
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef unsigned long number;

/* CK_FUNCTION_LIST of PKCS#11 2.40: its version, then 68 functions in the order of the standard. */
struct list {
    unsigned char major, minor;
    void *of[68];
};
enum { INITIALIZE = 0, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, GET_MECHANISM_LIST = 7, LOGIN = 18, FIND_INIT = 26, FIND = 27, SIGN_INIT = 42 };

/* CK_ATTRIBUTE. */
struct attribute {
    number kind;
    void *value;
    number length;
};

/* Where CK_TOKEN_INFO has its flags: after three names and a serial number. */
#define FLAGS_AT (32 + 32 + 16 + 16)
#define CKA_CLASS 0UL
#define CKR_GENERAL_ERROR 5UL
#define CKR_MECHANISM_INVALID 0x70UL
#define CKR_BUFFER_TOO_SMALL 0x150UL

static struct list *real, own;
static int hidden;

static number wish(const char *name)
{
    char line[80], of[60];
    number value, found = 0;
    FILE *file = fopen(WISHES, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%59s %lx", of, &value) == 2 && !strcmp(of, name))
            found = value;
    if (file)
        fclose(file);
    return found;
}

static number initialize(void *arguments)
{
    number code = wish("initialize");
    return code ? code : ((number (*)(void *))real->of[INITIALIZE])(arguments);
}

static number get_slot_list(unsigned char present, number *slots, number *count)
{
    if (wish("no-slots") || (present && wish("no-tokens"))) {
        *count = 0;
        return 0;
    }
    return ((number (*)(unsigned char, number *, number *))real->of[GET_SLOT_LIST])(present, slots, count);
}

static number get_token_info(number slot, char *about)
{
    number flags, code = wish("about");
    if (!code)
        code = ((number (*)(number, char *))real->of[GET_TOKEN_INFO])(slot, about);
    if (code)
        return code;
    memcpy(&flags, about + FLAGS_AT, sizeof flags);
    flags = (flags & ~wish("clear")) | wish("set");
    memcpy(about + FLAGS_AT, &flags, sizeof flags);
    return 0;
}

static number get_mechanism_list(number slot, number *mechanisms, number *count)
{
    number all[512], there = 512, kept = 0, hide = wish("hide-mechanism"), code, at;
    code = ((number (*)(number, number *, number *))real->of[GET_MECHANISM_LIST])(slot, all, &there);
    if (code)
        return code;
    for (at = 0; at < there; at++)
        if (!hide || all[at] != hide)
            all[kept++] = all[at];
    if (mechanisms && *count < kept)
        code = CKR_BUFFER_TOO_SMALL;
    else if (mechanisms)
        memcpy(mechanisms, all, kept * sizeof *all);
    *count = kept;
    return code;
}

static number login(number session, number user, char *pin, number length)
{
    number code = wish("login");
    return code ? code : ((number (*)(number, number, char *, number))real->of[LOGIN])(session, user, pin, length);
}

static number find_init(number session, struct attribute *wanted, number count)
{
    number at, hide = wish("hide-class");
    hidden = 0;
    for (at = 0; at < count; at++)
        if (hide && wanted[at].kind == CKA_CLASS && *(number *)wanted[at].value == hide)
            hidden = 1;
    return ((number (*)(number, struct attribute *, number))real->of[FIND_INIT])(session, wanted, count);
}

static number find(number session, number *objects, number most, number *count)
{
    number code = ((number (*)(number, number *, number, number *))real->of[FIND])(session, objects, most, count);
    if (hidden)
        *count = 0;
    return code;
}

static number sign_init(number session, void *mechanism, number key)
{
    number code = wish("sign"), hide = wish("hide-mechanism");
    if (!code && hide && *(number *)mechanism == hide)
        code = CKR_MECHANISM_INVALID;
    return code ? code : ((number (*)(number, void *, number))real->of[SIGN_INIT])(session, mechanism, key);
}

number C_GetFunctionList(struct list **list)
{
    if (!real) {
        void *library = dlopen(REAL, RTLD_NOW);
        number (*get)(struct list **) = library ? (number (*)(struct list **))dlsym(library, "C_GetFunctionList") : 0;
        if (!get || get(&real))
            return CKR_GENERAL_ERROR;
        own = *real;
        own.of[INITIALIZE] = initialize;
        own.of[GET_FUNCTION_LIST] = C_GetFunctionList;
        own.of[GET_SLOT_LIST] = get_slot_list;
        own.of[GET_TOKEN_INFO] = get_token_info;
        own.of[GET_MECHANISM_LIST] = get_mechanism_list;
        own.of[LOGIN] = login;
        own.of[FIND_INIT] = find_init;
        own.of[FIND] = find;
        own.of[SIGN_INIT] = sign_init;
    }
    *list = &own;
    return 0;
}
