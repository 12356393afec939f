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
 *   reauthenticate 1    a key that is put onto the card wants the PIN within each signature (CKA_ALWAYS_AUTHENTICATE)
 *   hide-attribute N    no object tells this attribute
 *   context CODE        what C_Login within a signature returns, with no PIN shown to the card
 *                       (whatever it returns: each such call adds a character to the file WISHES.within)
 *   keep 1              what C_SignUpdate is given is kept, and signed at once by C_SignFinal, as modules do for mechanisms without a hash
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
enum {
    INITIALIZE = 0, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, GET_MECHANISM_LIST = 7, LOGIN = 18, CREATE_OBJECT = 20,
    GET_ATTRIBUTE_VALUE = 24, FIND_INIT = 26, FIND = 27, SIGN_INIT = 42, SIGN = 43, SIGN_UPDATE = 44, SIGN_FINAL = 45
};

/* CK_ATTRIBUTE. */
struct attribute {
    number kind;
    void *value;
    number length;
};

/* Where CK_TOKEN_INFO has its flags: after three names and a serial number. */
#define FLAGS_AT (32 + 32 + 16 + 16)
#define CKA_CLASS 0UL
#define CKA_ALWAYS_AUTHENTICATE 0x202UL
#define CKO_PRIVATE_KEY 3UL
#define CKU_CONTEXT_SPECIFIC 2UL
#define CKR_GENERAL_ERROR 5UL
#define CKR_ATTRIBUTE_TYPE_INVALID 0x12UL
#define CKR_DATA_LEN_RANGE 0x21UL
#define CKR_MECHANISM_INVALID 0x70UL
#define CKR_BUFFER_TOO_SMALL 0x150UL

static struct list *real, own;
static int hidden;
static unsigned char kept[1024];
static number kept_length;

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
    int within = user == CKU_CONTEXT_SPECIFIC;
    number code = wish(within ? "context" : "login");
    FILE *tries = within ? fopen(WISHES ".within", "a") : 0;
    if (tries) {
        fputc('1', tries);
        fclose(tries);
    }
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

static number create_object(number session, struct attribute *given, number count, number *made)
{
    struct attribute all[64];
    unsigned char yes = 1;
    number at;
    for (at = 0; at < count && count < 64; at++)
        if (given[at].kind == CKA_CLASS && *(number *)given[at].value == CKO_PRIVATE_KEY && wish("reauthenticate")) {
            memcpy(all, given, count * sizeof *all);
            all[count++] = (struct attribute){CKA_ALWAYS_AUTHENTICATE, &yes, sizeof yes};
            given = all;
            break;
        }
    return ((number (*)(number, struct attribute *, number, number *))real->of[CREATE_OBJECT])(session, given, count, made);
}

static number get_attribute_value(number session, number object, struct attribute *wanted, number count)
{
    number at, hide = wish("hide-attribute");
    for (at = 0; at < count; at++)
        if (hide && wanted[at].kind == hide) {
            wanted[at].length = (number)-1;
            return CKR_ATTRIBUTE_TYPE_INVALID;
        }
    return ((number (*)(number, number, struct attribute *, number))real->of[GET_ATTRIBUTE_VALUE])(session, object, wanted, count);
}

static number sign_update(number session, unsigned char *part, number length)
{
    if (!wish("keep"))
        return ((number (*)(number, unsigned char *, number))real->of[SIGN_UPDATE])(session, part, length);
    if (length > sizeof kept - kept_length)
        return CKR_DATA_LEN_RANGE;
    memcpy(kept + kept_length, part, length);
    kept_length += length;
    return 0;
}

static number sign_final(number session, unsigned char *signature, number *length)
{
    if (!wish("keep"))
        return ((number (*)(number, unsigned char *, number *))real->of[SIGN_FINAL])(session, signature, length);
    return ((number (*)(number, unsigned char *, number, unsigned char *, number *))real->of[SIGN])(session, kept, kept_length, signature, length);
}

static number sign_init(number session, void *mechanism, number key)
{
    number code = wish("sign"), hide = wish("hide-mechanism");
    kept_length = 0;
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
        own.of[CREATE_OBJECT] = create_object;
        own.of[GET_ATTRIBUTE_VALUE] = get_attribute_value;
        own.of[FIND_INIT] = find_init;
        own.of[FIND] = find;
        own.of[SIGN_INIT] = sign_init;
        own.of[SIGN_UPDATE] = sign_update;
        own.of[SIGN_FINAL] = sign_final;
    }
    *list = &own;
    return 0;
}
